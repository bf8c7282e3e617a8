"""The folds, one module per read model: pure functions from records and documents to documents."""
