"""Raw scans -> co-registered, SRI24, skull-stripped, bias-corrected, percentile-normalised.

:func:`braincli.preprocess.chain.preprocess_case` is the way in; :mod:`braincli.preprocess.atlas` holds the atlas.
"""
