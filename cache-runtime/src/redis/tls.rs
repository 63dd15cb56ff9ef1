//! Encrypted connections: the files, read once when the cache is built, and the handshake.
//!
//! The cryptography is named here and not taken from the process, so that neither what the program has installed, nor
//! whether it has, matters.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::fault;
use crate::error::{Error, ErrorKind};
use crate::server::{Endpoint, TlsFiles};

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Config, "TLS cannot be used in this build").with_source(error))?
            .with_root_certificates(roots(files.ca.as_deref())?);
        let config = match (&files.cert, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&read("tls_key", key)?)
                    .map_err(|_| unusable("tls_key", "has no private key in PEM in it"))?;
                builder
                    .with_client_auth_cert(certificates("tls_cert", cert)?, key)
                    .map_err(|_| unusable("tls_key", "does not belong to the certificate of `tls_cert`"))?
            }
            (Some(_), None) => return Err(alone("tls_cert", "tls_key")),
            (None, Some(_)) => return Err(alone("tls_key", "tls_cert")),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn handshake(
        &self,
        endpoint: &Endpoint,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let host = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| Error::new(ErrorKind::Config, "host: not a name that a certificate can have"))?;
        self.0.connect(host, stream).await.map_err(|error| fault::unopened(endpoint, error))
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        // What of the system's certificates cannot be used is left out, as everybody does.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let what = "tls_ca: not set, and this system trusts nobody by itself; name a file";
            return Err(Error::new(ErrorKind::Config, what));
        }
        return Ok(roots);
    };
    for certificate in certificates("tls_ca", ca)? {
        roots.add(certificate).map_err(|_| unusable("tls_ca", "has a certificate in it that cannot be used"))?;
    }
    Ok(roots)
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(setting, file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(unusable(setting, "has no certificate in PEM in it")),
    }
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| {
        let what = format!("{setting}: the file cannot be read: {error}");
        Error::new(ErrorKind::Config, what)
    })
}

fn unusable(setting: &str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{setting}: the file {what}"))
}

fn alone(setting: &str, other: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{setting} is set, and {other} is not; a client's certificate needs both"))
}
