//! A GGUF file: its header, and if that holds together the model and the tokenizer it describes.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use lyceum_engine::{Model, ModelRequest};
use lyceum_hub::Silent;
use lyceum_kernels::Pool;
use lyceum_nn::{checkpoint::parse_gguf, decoder::Options};

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Arc::new(Pool::new(1)));

fuzz_target!(|bytes: &[u8]| {
    if parse_gguf(bytes).is_ok() {
        let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let name = file.path().to_str().unwrap().to_owned();
        let options = Options::default();
        let request = ModelRequest { name, adapter: None, options, preset_context: 0 };
        _ = Model::load(request, Arc::clone(&POOL), &Silent);
    }
});
