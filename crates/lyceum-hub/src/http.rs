//! Fetching over HTTP.

use crate::fingerprint::{Expected, copy_checked};
use crate::{Error, Result};
use std::path::Path;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, http::Response};

const CONNECT: Duration = Duration::from_secs(3);
const RESPONSE: Duration = Duration::from_secs(30);
/// Longest answer that is read as text.
const LONGEST_TEXT: u64 = 32 << 20;

/// A client with the addresses' token and with advice for the user when it fails.
pub(crate) struct Client<'a> {
    agent: Agent,
    token: Option<&'a str>,
    advice: &'a str,
}

impl<'a> Client<'a> {
    /// `token` is sent as a bearer to the first host only, never to where it redirects.
    pub fn new(token: Option<&'a str>, advice: &'a str) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(RESPONSE))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("lyceum/", env!("CARGO_PKG_VERSION")))
            // The system's certificates: those of a company's proxy are among them where there is one.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Self { agent: config.into(), token, advice }
    }

    /// The answer's text.
    pub fn text(&self, url: &str) -> Result<String> {
        let mut response = self.get(url)?;
        let text = response.body_mut().with_config().limit(LONGEST_TEXT).read_to_string();
        text.map_err(|cause| self.error(url, &cause))
    }

    /// The answer's bytes as a new file, checked.
    pub fn file(
        &self,
        url: &str,
        path: &Path,
        expected: Expected<'_>,
        advanced: impl FnMut(u64),
    ) -> Result<()> {
        let mut response = self.get(url)?;
        copy_checked(response.body_mut().as_reader(), path, expected, advanced)
    }

    fn get(&self, url: &str) -> Result<Response<Body>> {
        let mut request = self.agent.get(url);
        if let Some(token) = self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|cause| self.error(url, &cause))
    }

    fn error(&self, url: &str, cause: &ureq::Error) -> Error {
        let advice = match cause {
            ureq::Error::StatusCode(401 | 403) => {
                "the address exists but is not public: accept its terms on the web site and set HF_TOKEN"
            }
            ureq::Error::StatusCode(404) => "there is nothing by that name: check the spelling",
            _ => self.advice,
        };
        Error::Http { url: url.to_owned(), cause: cause.to_string(), advice: advice.to_owned() }
    }
}
