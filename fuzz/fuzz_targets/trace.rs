//! A line of a trace file: what is read is written and read again as the same trace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_trace::parse_line;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(trace) = parse_line(bytes) {
        let line = serde_json::to_vec(&trace).unwrap();
        assert_eq!(parse_line(&line).unwrap(), trace);
    }
});
