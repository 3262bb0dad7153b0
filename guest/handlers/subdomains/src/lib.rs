//! Labels below a domain, such as `shop` in `shop.example.com`, for whoever asks first.
//!
//! A label is locked and saved in the form in which DNS carries it (the A-label: `xn--bcher-kva`), because that is what must be
//! unique: however it is written, a resolver asks for this. The form to show (the U-label: `bücher`) is the attribute
//! `u_label`. Two labels that only look alike are two; the handler `usernames` has what it takes to refuse the second.
//!
//! Its settings, in the table `[settings]` of the tenant's `tenant.toml`:
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `wait_ms` | how long to wait for the lock while another call holds it, in milliseconds | 0: try once |
//! | `reserved` | labels that nobody may have, in either form, separated by commas or spaces | `admin api autodiscover ftp imap mail mx ns1 ns2 smtp status www` |
//!
//! A label lasts as long as the caller wishes; without a wish, it does not end.

pub mod label;
#[cfg(test)]
mod tests;

use std::{str::FromStr, time::Duration};

use namelock_guest::{Handler, Registration, Rejection, Request, SettingError, find, name_lock, setting_parsed};

use crate::label::{Label, LabelError};

/// The attribute with the label as it is shown.
const U_LABEL: &str = "u_label";

const RESERVED: &str = "admin api autodiscover ftp imap mail mx ns1 ns2 smtp status www";

struct Subdomains;

namelock_guest::export!(Subdomains);

impl Handler for Subdomains {
    fn register(request: Request) -> Result<Registration, Rejection> {
        let label = Label::parse(&request.name)?;
        if reserved()?.0.contains(&label) {
            return Err(LabelError::Reserved.into());
        }
        let mut attributes = request.attributes;
        // It is not the caller's to set.
        attributes.retain(|(key, _)| key != U_LABEL);
        attributes.insert(0, (U_LABEL.to_owned(), label.unicode().to_owned()));
        name_lock(label.ascii(), wait()?, |lease| {
            if find(label.ascii())?.is_some() {
                return Err(Rejection::Taken);
            }
            Ok(lease.save(&request.owner, request.lifetime, &attributes)?)
        })
    }

    fn free(name: String, owner: String) -> Result<(), Rejection> {
        let label = Label::parse(&name)?;
        name_lock(label.ascii(), wait()?, |lease| match find(label.ascii())? {
            Some(found) if found.owner != owner => Err(Rejection::Forbidden(
                "the subdomain belongs to somebody else".to_owned(),
            )),
            Some(_) => {
                lease.free()?;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

impl From<LabelError> for Rejection {
    fn from(error: LabelError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Labels that nobody may have.
struct Reserved(Vec<Label>);

impl FromStr for Reserved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let labels = words.map(|word| Label::parse(word).map_err(|error| format!("{word:?}: {error}")));
        Ok(Self(labels.collect::<Result<_, _>>()?))
    }
}

/// A reserved word that is no label is an error: it would never keep anybody from anything.
fn reserved() -> Result<Reserved, SettingError> {
    match setting_parsed("reserved")? {
        Some(reserved) => Ok(reserved),
        None => RESERVED.parse().map_err(|reason| SettingError::Malformed {
            key: "reserved".to_owned(),
            value: RESERVED.to_owned(),
            reason,
        }),
    }
}

fn wait() -> Result<Duration, SettingError> {
    Ok(setting_parsed("wait_ms")?.map_or(Duration::ZERO, Duration::from_millis))
}
