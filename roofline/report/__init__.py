"""Turn analyses into text, files and pages."""
