//! The laws of the rules, on JSON as the API server writes it.

mod any_json;
mod fixtures;
mod kstatus;
mod others;
mod troubles;
mod workloads;
