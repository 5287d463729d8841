"""Reports as tables and Markdown, and the confidence intervals beside their figures."""
