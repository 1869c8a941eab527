//! Answers that go on: lines of JSON, plain or packed.

mod unpack;

use std::time::Duration;

use api::problem::Problem;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use serde::de::DeserializeOwned;

use crate::{Error, broken};
use unpack::Splitter;

/// Lines of JSON as they come.
pub struct Lines {
    server: String,
    body: Incoming,
    splitter: Splitter,
    silence: Duration,
}

impl Lines {
    pub(crate) fn new(server: &str, response: Response<Incoming>) -> Result<Self, Error> {
        let coding = response.headers().get(CONTENT_ENCODING);
        let coding = coding.map_or(b"identity".as_slice(), |coding| coding.as_bytes());
        let splitter = match coding {
            b"identity" => Splitter::plain(),
            b"deflate" => Splitter::deflate(),
            other => {
                let coding = String::from_utf8_lossy(other);
                return Err(strange(server, format!("it is coded as `{coding}`")));
            }
        };
        Ok(Self {
            server: server.to_owned(),
            body: response.into_body(),
            splitter,
            silence: Duration::MAX,
        })
    }

    /// Takes it for the end when no byte comes for so long. A long line over a slow connection may take longer.
    #[must_use]
    pub fn heard_each(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// The next one; `None` when the stream has ended. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, the server is silent, or the line is not what it should be.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            let line = self.splitter.line();
            if let Some(line) = line.map_err(|what| strange(&self.server, what))? {
                let read = serde_json::from_slice(&line);
                return read.map(Some).map_err(|error| self.odd(&line, &error));
            }
            let next = tokio::time::timeout(self.silence, self.body.frame());
            let next = next.await.map_err(|_| Error::Silent {
                server: self.server.clone(),
            })?;
            match next {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.splitter.take(data);
                    }
                }
                Some(Err(error)) => return Err(broken(&self.server, error.into())),
            }
        }
    }

    /// A stream that cannot go on ends with a line that says why.
    fn odd(&self, line: &[u8], error: &serde_json::Error) -> Error {
        match serde_json::from_slice::<Problem>(line) {
            Ok(problem) => Error::Refused(problem),
            Err(_) => strange(&self.server, error.to_string()),
        }
    }
}

fn strange(server: &str, what: String) -> Error {
    let server = server.to_owned();
    Error::Answer { server, what }
}
