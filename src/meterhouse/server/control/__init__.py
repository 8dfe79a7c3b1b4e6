"""The control API under `/_meterhouse/v1/`, and beside it health, metrics and the credentials of workloads."""
