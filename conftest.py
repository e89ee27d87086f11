# Kept empty on purpose: in an editable install this file is loaded with the suites, from any folder.
