use rustls::{AlertDescription, InvalidMessage};

use super::*;

#[test]
fn each_fault_of_tls_says_how_to_mend_it() {
    let certificate = |problem| explain(&Error::InvalidCertificate(problem));
    for (said, expected) in [
        (certificate(CertificateError::UnknownIssuer), "lock.ca"),
        (certificate(CertificateError::NotValidForName), "for this name"),
        (certificate(CertificateError::Expired), "refresh_certs"),
        (certificate(CertificateError::NotValidYet), "clock"),
        (certificate(CertificateError::BadSignature), "lock.ca"),
        (certificate(CertificateError::Revoked), "give it another one"),
        (
            explain(&Error::AlertReceived(AlertDescription::UnknownCA)),
            "lock.certificate",
        ),
        (
            explain(&Error::AlertReceived(AlertDescription::DecryptError)),
            "lock.certificate",
        ),
        (
            explain(&Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            "-Z",
        ),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn an_error_of_a_stream_tells_whether_tls_is_its_cause() {
    let of_tls = io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError);
    assert_eq!(cause(&of_tls), Some(&Error::DecryptError));
    assert_eq!(cause(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
}
