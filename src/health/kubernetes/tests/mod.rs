//! The laws of the rules, on JSON as the API server writes it.

mod fixtures;
mod troubles;
mod workloads;
