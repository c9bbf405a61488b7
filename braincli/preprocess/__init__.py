"""Raw scans -> co-registered, SRI24, skull-stripped, bias-corrected, percentile-normalised."""
