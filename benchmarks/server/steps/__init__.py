"""Steps of the bare model, without engine, texts and HTTP."""
