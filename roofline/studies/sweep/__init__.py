"""Price many networks on many devices in every way of running, in parallel, so that a run can be killed and go on."""
