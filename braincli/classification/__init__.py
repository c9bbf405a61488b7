"""Classification of whole volumes from several sites: "Learn to Ignore" (Wolleb et al. 2022, MICCAI) and its rivals."""
