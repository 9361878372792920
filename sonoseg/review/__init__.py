"""Review of results in the browser: look, correct, decide, compare raters, and train on what was corrected."""
