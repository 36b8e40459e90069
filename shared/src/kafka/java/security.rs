//! Who we are to the brokers, and how the connections are encrypted.

use super::jaas::{JaasError, Login};
use super::{Given, JavaError, KafkaConfig, one_of};
use crate::kafka::{KafkaPem, Sasl};
use crate::keystore::pem;

/// All but the brokers.
pub(super) fn understand(given: &Given<'_>) -> Result<KafkaConfig, JavaError> {
    let name = "security.protocol";
    let protocols = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    let protocol = one_of(name, given.get(name).unwrap_or("plaintext"), protocols)?;
    let mut kafka = KafkaConfig::default();
    if protocol.starts_with("sasl") {
        let (sasl, login) = login(given)?;
        let (user, password) = login.user()?;
        kafka.sasl = sasl;
        kafka.user = Some(user);
        kafka.password = Some(password);
    }
    if protocol.ends_with("ssl") {
        kafka.tls = true;
        kafka.check_host_name = checks_host_name(given)?;
        trust(given, &mut kafka)?;
        client_key(given, &mut kafka)?;
    }
    Ok(kafka)
}

fn login(given: &Given<'_>) -> Result<(Sasl, Login), JavaError> {
    let (of_mechanism, of_login) = ("sasl.mechanism", "sasl.jaas.config");
    let mechanism = given.get(of_mechanism).ok_or(JavaError::Missing {
        name: of_mechanism,
        advice: "Kafka takes that for GSSAPI, which is not supported; set PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    })?;
    let sasl = match mechanism {
        "PLAIN" => Sasl::Plain,
        "SCRAM-SHA-256" => Sasl::ScramSha256,
        "SCRAM-SHA-512" => Sasl::ScramSha512,
        other => {
            return Err(JavaError::Unsupported {
                name: of_mechanism,
                value: other.to_owned(),
                advice: "use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
            });
        }
    };
    let line = given.get(of_login).ok_or(JavaError::Missing {
        name: of_login,
        advice: "it says who we are; a file named by java.security.auth.login.config is not read",
    })?;
    let login = Login::parse(line)?;
    let module = || login.module.clone();
    let is_plain = match login.module.rsplit('.').next() {
        Some("PlainLoginModule") => true,
        Some("ScramLoginModule") => false,
        _ => return Err(JaasError::Module(module()).into()),
    };
    if is_plain != (sasl == Sasl::Plain) {
        let (module, mechanism) = (module(), mechanism.to_owned());
        return Err(JaasError::Mechanism { module, mechanism }.into());
    }
    let token = login.options.get("tokenauth");
    if token.is_some_and(|token| token.expose().eq_ignore_ascii_case("true")) {
        return Err(JaasError::DelegationToken.into());
    }
    Ok((sasl, login))
}

/// Without a value it is off.
fn checks_host_name(given: &Given<'_>) -> Result<bool, JavaError> {
    let name = "ssl.endpoint.identification.algorithm";
    if given.is_empty(name) {
        return Ok(false);
    }
    one_of(name, given.get(name).unwrap_or("https"), &["https"])?;
    Ok(true)
}

fn trust(given: &Given<'_>, kafka: &mut KafkaConfig) -> Result<(), JavaError> {
    kafka.ca_file = given.get("ssl.truststore.location").map(Into::into);
    kafka.ca_password = given.get("ssl.truststore.password").map(Into::into);
    let certificates = text(
        given,
        "ssl.truststore.certificates",
        "ssl.truststore.location",
    )?;
    kafka.pem.ca = certificates;
    Ok(())
}

/// A key in a store of PEM stands in one file with its certificates.
fn client_key(given: &Given<'_>, kafka: &mut KafkaConfig) -> Result<(), JavaError> {
    let location = "ssl.keystore.location";
    if let Some(file) = given.get(location) {
        kafka.client_cert_file = Some(file.into());
        kafka.client_key_file = Some(file.into());
    }
    let of_store = given.get("ssl.keystore.password");
    let of_key = given.get("ssl.key.password");
    // Of PKCS#12 the two are one; Java asks for that of the store.
    kafka.client_key_password = of_store.or(of_key).map(Into::into);
    let chain = text(given, "ssl.keystore.certificate.chain", location)?;
    let key = text(given, "ssl.keystore.key", location)?;
    kafka.pem = KafkaPem {
        client_cert: chain,
        client_key: key.map(Into::into),
        ..std::mem::take(&mut kafka.pem)
    };
    Ok(())
}

fn text(
    given: &Given<'_>,
    name: &'static str,
    file: &'static str,
) -> Result<Option<String>, JavaError> {
    let Some(value) = given.get(name) else {
        return Ok(None);
    };
    let lines = pem::in_lines(value);
    if lines.is_empty() {
        return Err(JavaError::NoPem { name, file });
    }
    Ok(Some(lines))
}
