"""Raw scans -> co-registered, SRI24, skull-stripped, bias-corrected, percentile-normalised.

:func:`braincli.preprocessing.chain.preprocess_case` is the way in; :mod:`braincli.preprocessing.atlas` holds the atlas.
"""
