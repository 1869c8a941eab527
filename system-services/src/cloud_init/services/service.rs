//! Asks one metadata service for its paths.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cloud_init::fetch::{Client, Error};
use crate::log::{Chain, Log};

const LOG: Log = Log::of("cloud-init");
/// For how long one value is asked for that may be missing.
const OPTIONAL: Duration = Duration::from_secs(15);

/// A metadata service at a place.
#[derive(Debug)]
pub struct Service<'a> {
    client: &'a Client,
    base: &'a str,
    headers: Vec<(&'static str, String)>,
    /// By when it must have begun to answer.
    probe: Instant,
    /// By when it must have said everything.
    deadline: Instant,
    has_answered: bool,
}

impl<'a> Service<'a> {
    /// One at `base`.
    pub fn new(client: &'a Client, base: &'a str, (probe, deadline): (Instant, Instant)) -> Self {
        Self {
            client,
            base: base.trim_end_matches('/'),
            headers: Vec::new(),
            probe,
            deadline,
            has_answered: false,
        }
    }

    /// Sends a header with each further question.
    pub fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((name, value.into()));
    }

    /// What is at `path`; `None`: nothing.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn bytes(&mut self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let url = format!("{}/{path}", self.base);
        let answer = self.client.get_with(&url, &self.headers, self.until())?;
        self.has_answered = true;
        Ok(answer)
    }

    /// What is at `path`, of which there may be nothing: a service that is slow or fails there costs this value and 15 seconds, not the rest.
    pub fn optional(&mut self, path: &str) -> Option<Vec<u8>> {
        let whole = self.deadline;
        self.deadline = whole.min(Instant::now() + OPTIONAL);
        let found = self.bytes(path);
        self.deadline = whole;
        found.unwrap_or_else(|error| {
            LOG.warn(format_args!(
                "{}/{path} is left out: {}",
                self.base,
                Chain(&error)
            ));
            None
        })
    }

    /// What is at `path`, as text.
    ///
    /// # Errors
    /// As [`Service::bytes`].
    pub fn text(&mut self, path: &str) -> Result<Option<String>, Error> {
        let found = self.bytes(path)?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// What is at `path`, as JSON; what does not parse is logged, and is as if it were not there.
    ///
    /// # Errors
    /// As [`Service::bytes`].
    pub fn json(&mut self, path: &str) -> Result<Option<Value>, Error> {
        let found = self.bytes(path)?;
        Ok(found.and_then(|bytes| self.parsed(path, &bytes)))
    }

    /// JSON that there may be none of, as [`Service::optional`].
    pub fn optional_json(&mut self, path: &str) -> Option<Value> {
        let found = self.optional(path)?;
        self.parsed(path, &found)
    }

    fn parsed(&self, path: &str, bytes: &[u8]) -> Option<Value> {
        match serde_json::from_slice(bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                LOG.error(format_args!(
                    "{}/{path} is not used: {}",
                    self.base,
                    Chain(&error)
                ));
                None
            }
        }
    }

    /// Asks for a token by `PUT`, which programs on the machine can do and those that are tricked into fetching a URL cannot. `None`: the
    /// service has none.
    ///
    /// # Errors
    /// As [`Service::bytes`].
    pub fn token(
        &mut self,
        path: &str,
        header: (&'static str, &str),
    ) -> Result<Option<String>, Error> {
        let url = format!("{}/{path}", self.base);
        let headers = [(header.0, header.1.to_owned())];
        let answer = self.client.put_with(&url, &headers, self.until())?;
        self.has_answered = true;
        let token = answer.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        // It becomes a header's value.
        Ok(token
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())))
    }

    fn until(&self) -> Instant {
        if self.has_answered {
            self.deadline
        } else {
            self.probe
        }
    }
}
