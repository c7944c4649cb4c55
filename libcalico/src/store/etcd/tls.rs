//! TLS from the configuration: rustls with *ring*, which starts in 3 ms where others take 40
//! (`reference/crates-and-floor.md` section 2).

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::{EtcdConfig, Pem};
use crate::store::{StoreError, StoreErrorKind};

/// Reads the certificates and makes the configuration that all servers share.
pub(super) fn client_config(config: &EtcdConfig) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &config.ca {
        for certificate in certificates("etcd_ca_cert_file", pem)? {
            roots.add(certificate).map_err(|error| wrong("etcd_ca_cert_file", pem, &error))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("TLS can't be set up: {error}")))?
        .with_root_certificates(roots);
    let mut tls = match &config.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates("etcd_cert_file", cert)?;
            let text = read("etcd_key_file", key)?;
            let private = PrivateKeyDer::from_pem_slice(&text)
                .map_err(|_| wrong("etcd_key_file", key, &"it holds no PEM private key"))?;
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                invalid(format!(
                    "etcd_cert_file {cert} and etcd_key_file {key} don't belong together: {error}"
                ))
            })?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}

fn certificates(field: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let text = read(field, pem)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong(field, pem, &"it holds no PEM certificate")),
        Err(_) => Err(wrong(field, pem, &"it holds a damaged PEM certificate")),
    }
}

fn read(field: &str, pem: &Pem) -> Result<Vec<u8>, StoreError> {
    match pem {
        Pem::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
        Pem::File(path) => std::fs::read(path).map_err(|error| wrong(field, pem, &error)),
    }
}

fn wrong(field: &str, pem: &Pem, reason: &dyn std::fmt::Display) -> StoreError {
    invalid(format!("{field} {pem}: {reason}"))
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}
