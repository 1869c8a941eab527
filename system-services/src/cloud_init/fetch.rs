//! Fetches user-data and metadata over http and https, with retries, time limits and a size limit.
//!
//! A static program has no resolver of its own: names go through hickory with the servers of `/etc/resolv.conf`. Trust is that of the
//! image's CA bundle.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use os_config::types::Network;
use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy, RequestBuilder};

use super::source::LARGEST;
use crate::log::{Chain, Log};

const LOG: Log = Log::of("cloud-init");
/// One try.
const TRY_LIMIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server does not answer, or with errors, until the deadline.
    #[error("no answer; the last of {tries} tries ended with")]
    Silent {
        /// How often it was asked.
        tries: u32,
        /// What the last try ended with.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Asking again would not help.
    #[error("not a usable answer; check the URL")]
    Hopeless(#[source] Box<ureq::Error>),
}

/// An HTTP client for datasources.
#[derive(Debug)]
pub struct Client(Agent);

impl Client {
    /// A client with the configured proxies.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        Self::of(settings().proxy(proxy(network)).build())
    }

    /// A client for services of the machine's own network: without proxies, and not sent elsewhere with what it was trusted with.
    #[must_use]
    pub fn direct() -> Self {
        Self::of(settings().proxy(None).max_redirects(0).build())
    }

    fn of(config: Config) -> Self {
        Self(Agent::with_parts(
            config,
            DefaultConnector::default(),
            Names,
        ))
    }

    /// Fetches `url`, trying again until `deadline`. `None`: the server says that there is nothing (4xx).
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, url: &str, deadline: Instant) -> Result<Option<Vec<u8>>, Error> {
        self.get_with(url, &[], deadline)
    }

    /// The same with headers.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get_with(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, Error> {
        until(deadline, || {
            content(with_headers(self.0.get(url), headers).call()?)
        })
    }

    /// What `PUT` without content gives.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn put_with(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, Error> {
        until(deadline, || {
            content(with_headers(self.0.put(url), headers).send_empty()?)
        })
    }
}

fn with_headers<B>(
    asked: RequestBuilder<B>,
    headers: &[(&'static str, String)],
) -> RequestBuilder<B> {
    let with = |asked: RequestBuilder<B>, (name, value): &(&'static str, String)| {
        asked.header(*name, value)
    };
    headers.iter().fold(asked, with)
}

fn settings() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .timeout_per_call(Some(TRY_LIMIT))
        .user_agent(concat!("RancherOS/", env!("CARGO_PKG_VERSION")))
        .tls_config(trust())
}

fn content(mut answer: ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, ureq::Error> {
    // A redirect that is not followed comes as an answer.
    if !answer.status().is_success() {
        return Err(ureq::Error::StatusCode(answer.status().as_u16()));
    }
    answer.body_mut().with_config().limit(LARGEST).read_to_vec()
}

/// Tries again until `deadline`. `None`: the server says that there is nothing (4xx).
fn until(
    deadline: Instant,
    ask: impl Fn() -> Result<Vec<u8>, ureq::Error>,
) -> Result<Option<Vec<u8>>, Error> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match ask() {
            Ok(body) => return Ok(Some(body)),
            Err(error) => error,
        };
        match error {
            ureq::Error::StatusCode(code) if is_refusal(code) => return Ok(None),
            error if is_hopeless(&error) => return Err(Error::Hopeless(Box::new(error))),
            error if Instant::now() + pause >= deadline => {
                return Err(Error::Silent {
                    tries,
                    source: Box::new(error),
                });
            }
            error => {
                if tries == 1 {
                    LOG.info(format_args!(
                        "no answer yet, trying again: {}",
                        Chain(&error)
                    ));
                }
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Those that mean "later" are no refusals (RFC 9110 15.5, RFC 6585 4). A redirect that is not followed is one, and so is a method that is not there.
fn is_refusal(code: u16) -> bool {
    code == 501 || ((300..500).contains(&code) && !matches!(code, 408 | 425 | 429))
}

fn is_hopeless(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::BadUri(_)
            | ureq::Error::Http(_)
            | ureq::Error::BodyExceedsLimit(_)
            | ureq::Error::TooManyRedirects
            | ureq::Error::InvalidProxyUrl
    )
}

/// The configured proxy, else that of the environment. One is used for both schemes: the kind of URL to come is not known here.
fn proxy(network: &Network) -> Option<Proxy> {
    let configured = network.https_proxy.as_ref().or(network.http_proxy.as_ref());
    match configured.filter(|url| !url.is_empty()) {
        Some(url) => match Proxy::new(url) {
            Ok(proxy) => Some(proxy),
            Err(error) => {
                LOG.warn(format_args!("proxy is not used: {error}"));
                None
            }
        },
        None => Proxy::try_from_env(),
    }
}

fn trust() -> TlsConfig {
    let bundle = match std::fs::read(BUNDLE) {
        Ok(bundle) => bundle,
        Err(error) => {
            LOG.warn(format_args!(
                "{BUNDLE}: {error}; the built-in list of CAs is used"
            ));
            return TlsConfig::default();
        }
    };
    let certificates: Vec<_> = parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build()
}

/// Names through hickory.
struct Names;

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Names")
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri
            .host()
            .ok_or_else(|| ureq::Error::BadUri(format!("{uri} has no host")))?;
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let mut all = self.empty();
        for address in addresses(host, *timeout.after)?.into_iter().take(16) {
            all.push(SocketAddr::new(address, port));
        }
        if all.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(all)
    }
}

/// The addresses of a name, or the address that it is.
///
/// # Errors
/// When it has none, or nobody says so in time.
pub fn addresses(host: &str, limit: Duration) -> Result<Vec<IpAddr>, ureq::Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let looked_up = runtime.block_on(async {
        // Read anew at each try: DHCP may have given servers since.
        let resolver = TokioResolver::builder_tokio()?.build()?;
        tokio::time::timeout(limit.min(TRY_LIMIT), resolver.lookup_ip(bare))
            .await
            .map_err(|_| hickory_resolver::net::NetError::Timeout)?
    });
    match looked_up {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) => Err(ureq::Error::Io(std::io::Error::other(format!(
            "{bare} cannot be resolved: {error}"
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that gives `answers` to one connection each.
    fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0_u8; 1024];
                let _read = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        format!("http://127.0.0.1:{port}/user-data")
    }

    fn get(answers: Vec<&'static str>) -> Result<Option<Vec<u8>>, Error> {
        let client = Client::new(&Network::default());
        client.get(&server(answers), Instant::now() + Duration::from_secs(3))
    }

    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_busy_server_is_asked_again() {
        let body = get(vec![
            BUSY,
            BUSY,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        ]);
        assert_eq!(body.unwrap().unwrap(), b"hello");
    }

    #[test]
    fn not_found_is_an_answer() {
        let body = get(vec![
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ]);
        assert_eq!(body.unwrap(), None);
    }

    #[test]
    fn a_dead_server_is_given_up_at_the_deadline() {
        let client = Client::new(&Network::default());
        let start = Instant::now();
        let error = client
            .get(
                "http://127.0.0.1:1/",
                Instant::now() + Duration::from_millis(500),
            )
            .unwrap_err();
        assert!(
            matches!(error, Error::Silent { tries, .. } if tries > 1),
            "{error:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn a_url_without_a_host_is_hopeless() {
        let client = Client::new(&Network::default());
        let error = client
            .get("nonsense", Instant::now() + Duration::from_secs(3))
            .unwrap_err();
        assert!(matches!(error, Error::Hopeless(_)), "{error:?}");
    }
}
