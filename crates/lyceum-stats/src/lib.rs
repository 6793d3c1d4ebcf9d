//! Intervals, bootstrap by group and paired tests
#![forbid(unsafe_code)]
