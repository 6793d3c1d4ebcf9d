//! Models behind an address, as commands name them.

use anyhow::{Result, ensure};
use lyceum_chat::{Cached, ChatModel, Endpoint, EndpointSpec};

use crate::cli::{EndpointArgs, SamplingArgs};

impl EndpointArgs {
    /// The model at the address, if one is given.
    pub fn open(&self, sampling: &SamplingArgs) -> Result<Option<Box<dyn ChatModel>>> {
        ensure!(
            self.endpoint.is_none()
                || (sampling.top_k == 0 && sampling.min_p == 0.0 && sampling.repetition_penalty == 1.0),
            "--top-k, --min-p and --repetition-penalty are for local models; an endpoint takes --temperature and --top-p"
        );
        self.connect()
    }

    /// The same, for commands that choose how tokens are sampled themselves.
    pub fn connect(&self) -> Result<Option<Box<dyn ChatModel>>> {
        let Some(url) = &self.endpoint else { return Ok(None) };
        let spec = EndpointSpec {
            url: url.clone(),
            model: self.endpoint_model.clone(),
            profile: self.endpoint_profile,
            key_env: self.endpoint_key_env.clone(),
            ..EndpointSpec::default()
        };
        let endpoint = Endpoint::new(&spec)?;
        Ok(Some(match &self.endpoint_cache {
            Some(folder) => Box::new(Cached::new(endpoint, folder)),
            None => Box::new(endpoint),
        }))
    }
}
