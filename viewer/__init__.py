"""The application to explore attributions, embeddings and clusters."""
