"""Facts as data: the models that DeepSeek has published and the GPUs that clusters have."""
