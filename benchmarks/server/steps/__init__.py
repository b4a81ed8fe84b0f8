"""Steps of the bare model, without engine, detokenization and HTTP."""
