"""HTML pages, charts and drawing on images; draws what it is given and knows no result class."""
