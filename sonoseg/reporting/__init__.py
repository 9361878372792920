"""HTML pages, charts and drawing on images; inputs are arrays, numbers and text, not results of higher packages."""
