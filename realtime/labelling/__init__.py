"""Pre-annotation: images and frames become a data set whose labels are what the detector found.

``images`` reads them, ``doubt`` puts the least certain first, ``formats`` writes the labels, ``review`` an HTML page.
"""
