//! llama.cpp's own server, out of the Python package llama-cpp-python.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The environment variable that names a Python with `llama-cpp-python[server]`.
const PYTHON: &str = "LYCEUM_LLAMA_CPP";
/// How long the server may take to load a model.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with this value.
#[derive(Debug)]
pub struct LlamaCpp {
    server: Child,
    address: String,
}

impl LlamaCpp {
    /// The Python that `LYCEUM_LLAMA_CPP` names.
    ///
    /// # Errors
    /// How to come by one, where none is named.
    pub fn python() -> Result<String, String> {
        std::env::var(PYTHON).map_err(|_| {
            format!(
                "set {PYTHON} to a Python that has the server: python3 -m venv .llama-cpp && .llama-cpp/bin/pip install \
                 'llama-cpp-python[server]' gguf, then {PYTHON}=$PWD/.llama-cpp/bin/python"
            )
        })
    }

    /// Serves a GGUF file with the Python that `LYCEUM_LLAMA_CPP` names; the server's words go to this process's standard error.
    ///
    /// # Errors
    /// In words: no such Python, or a server that does not come up. A test without its server fails, it does not pass.
    pub fn start(gguf: &Path, context: usize) -> Result<Self, String> {
        let python = Self::python()?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| format!("no free port: {error}"))?.port();
        let server = Command::new(&python)
            .args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--logits_all", "true"])
            .args(["--n_ctx", &context.to_string(), "--port", &port.to_string(), "--model"])
            .arg(gguf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{python} can't be started: {error}"))?;
        let mut started = Self { server, address: format!("http://127.0.0.1:{port}/v1") };
        let begin = Instant::now();
        let models = format!("{}/models", started.address);
        while ureq::get(&models).call().is_err() {
            if let Ok(Some(status)) = started.server.try_wait() {
                return Err(format!(
                    "llama.cpp's server ended with {status}; does {python} have llama-cpp-python[server]?"
                ));
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("llama.cpp's server did not come up within {} s", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(started)
    }

    /// The address to give to a client.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
