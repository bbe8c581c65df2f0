"""Turn a YAML file into Hardware; yaml and pydantic are known in this folder only."""
