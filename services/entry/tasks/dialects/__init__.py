"""How a model is spoken to, one module per dialect of the catalog's `backend.dialect`."""
