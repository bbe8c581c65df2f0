"""Turn a graph into another graph: precision, fusion, execution modes, what-ifs."""
