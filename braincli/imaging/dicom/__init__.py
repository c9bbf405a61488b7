"""Studies as they come from a scanner: found, their series recognised, converted, and answered with a DICOM SEG.

Needs the extra ``dicom`` (pydicom, dcm2niix, highdicom), which is imported where it is used. Of what a header says of
the patient, the staff, the site and the time nothing is kept: :mod:`braincli.imaging.dicom.identity` reads it to keep
it out of names, and the segmentation carries it as DICOM demands.
"""
