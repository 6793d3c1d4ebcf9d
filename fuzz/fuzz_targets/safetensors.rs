//! The header of a safetensors file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lyceum_nn::checkpoint::parse_safetensors_header;

fuzz_target!(|bytes: &[u8]| {
    for (_, shape) in parse_safetensors_header(bytes).unwrap_or_default() {
        // F16 and BF16 take the fewest bytes: two.
        assert!(2 * shape.iter().product::<usize>() <= bytes.len());
    }
});
