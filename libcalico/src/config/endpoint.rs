//! The address of one etcd server.

use std::fmt;

use tonic::transport::Uri;

use super::ConfigError;

/// The port of etcd's clients.
const DEFAULT_PORT: u16 = 2379;

/// The address of an etcd server: `http://host:port` or `https://host:port`. It holds neither a
/// user nor a password, so that it may stand in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads a list with commas between the URLs; it may be empty.
    pub fn parse_list(urls: &str) -> Result<Vec<Endpoint>, ConfigError> {
        // Before the commas are looked at: a password may hold one.
        if urls.contains('@') {
            let reason = "holds a user: set etcd_username and etcd_password instead";
            return Err(ConfigError::Endpoint { url: without_user(urls), reason });
        }
        urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(Endpoint::parse).collect()
    }

    /// Reads a URL; without a port it is 2379.
    fn parse(url: &str) -> Result<Endpoint, ConfigError> {
        let wrong = |reason| ConfigError::Endpoint { url: url.to_owned(), reason };
        let uri: Uri =
            url.parse().map_err(|_| wrong("is no URL: write it like \"https://10.0.0.2:2379\""))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("has no scheme that etcd speaks: use http:// or https://")),
        };
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("has a path: only scheme, host and port are allowed"));
        }
        let host = match uri.host() {
            Some(host) if !host.is_empty() => host.to_owned(),
            _ => return Err(wrong("names no host")),
        };
        // `port_u16` is `None` both for no port and for one that is no number.
        let port = match authority.strip_prefix(host.as_str()) {
            Some("" | ":") => DEFAULT_PORT,
            _ => match uri.port_u16() {
                Some(port) if port != 0 => port,
                _ => return Err(wrong("has a port that is no number between 1 and 65535")),
            },
        };
        Ok(Endpoint { tls, host, port })
    }

    /// Whether it speaks TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The URL to dial for those who speak TLS themselves: never `https`.
    pub(crate) fn dialled(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// The host, as its certificate must name it: without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// The text of a URL, or of several, without what stands before the last `@`: it may be a password.
pub fn without_user(url: &str) -> String {
    let Some((before, rest)) = url.rsplit_once('@') else { return url.to_owned() };
    // Of a URL that is damaged, or of a password with a `://`, what is left of it is no scheme.
    let scheme = ["http://", "https://"].into_iter().find(|scheme| before.starts_with(scheme));
    format!("{}…@{rest}", scheme.unwrap_or_default())
}
