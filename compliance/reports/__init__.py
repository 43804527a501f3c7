"""Reports of the data protection officer: figures without people, the plot that explains them, and the document made of both."""
