//! Who calls. What the request shows ([`Credentials`]) is checked against the store inside the same transaction as
//! the call itself, so that rights are those of this very moment.

use chaffer_shared::token::{Bearer, Claims};
use chaffer_shared::topic;

use super::{ChatError, Refusal, visitors};
use crate::store::{Reader, User};

/// What a request shows of its sender; signatures and addresses are checked already, the store is not asked yet.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// An API key.
    ApiKey {
        /// SHA-256 of the key, in hex.
        hash: String,
        /// Whether it came from an address in `api.trusted_ips`.
        trusted_address: bool,
        /// The user it acts as (`Chaffer-User`).
        acting_user: Option<String>,
    },
    /// A token of good signature and age.
    Token(Box<Claims>),
}

/// Who calls, as the rules see it.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The shop's backend, as itself.
    Backend,
    /// A person.
    User {
        /// As mirrored now; of a visitor who has not written yet, as it says itself.
        user: Box<User>,
        /// Whether the shop's backend speaks for the person, so that what it says of orders and people is true.
        by_backend: bool,
    },
}

impl Caller {
    /// Asks the store who the credentials belong to.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is wrong with them.
    pub(crate) fn resolve(
        reader: &mut Reader<'_>,
        credentials: &Credentials,
    ) -> Result<Self, ChatError> {
        match credentials {
            Credentials::ApiKey { hash, trusted_address, acting_user } => {
                let user = match acting_user {
                    Some(id) => reader.acting_user(hash, id)?.ok_or(Refusal::InvalidApiKey)?,
                    None if reader.is_live_api_key(hash)? => None,
                    None => return Err(Refusal::InvalidApiKey.into()),
                };
                if !trusted_address {
                    return Err(Refusal::UntrustedAddress.into());
                }
                match (acting_user, user) {
                    (None, _) => Ok(Self::Backend),
                    (Some(_), None) => Err(Refusal::ActingUserUnknown.into()),
                    (Some(_), Some(user)) if user.erased_at.is_some() => {
                        Err(Refusal::ActingUserErased.into())
                    }
                    (Some(_), Some(user)) => {
                        Ok(Self::User { user: Box::new(user), by_backend: true })
                    }
                }
            }
            Credentials::Token(claims) => {
                let is_visitor = topic::is_visitor(&claims.sub);
                if is_visitor != (claims.kind == Bearer::Visitor) {
                    return Err(Refusal::InvalidToken.into());
                }
                let user = match reader.user(&claims.sub)? {
                    Some(user) => user,
                    None if is_visitor => visitors::newcomer(claims),
                    None => return Err(Refusal::InvalidToken.into()),
                };
                if user.revoked_before.is_some_and(|at| claims.is_revoked_by(at.and_utc())) {
                    return Err(Refusal::RevokedToken.into());
                }
                Ok(Self::User { user: Box::new(user), by_backend: false })
            }
        }
    }

    /// The person who calls.
    pub(crate) fn person(&self) -> Result<&User, ChatError> {
        match self {
            Self::Backend => Err(Refusal::ActingUserRequired.into()),
            Self::User { user, .. } => Ok(user),
        }
    }

    /// Refuses all but the shop's backend as itself.
    pub(crate) fn require_backend(&self) -> Result<(), ChatError> {
        match self {
            Self::Backend => Ok(()),
            Self::User { .. } => Err(Refusal::BackendOnly.into()),
        }
    }

    /// Refuses all but the shop's backend, as itself or as a root administrator: who grants rights must have them (R8).
    pub(crate) fn require_backend_or_root(&self) -> Result<(), ChatError> {
        match self {
            Self::Backend => Ok(()),
            Self::User { user, by_backend: true } if user.root => Ok(()),
            Self::User { by_backend: true, .. } => Err(Refusal::RootRequired.into()),
            Self::User { .. } => Err(Refusal::BackendOnly.into()),
        }
    }

    /// Refuses all but the shop's backend and root administrators, who may also come with tokens of their own.
    pub(crate) fn require_root(&self) -> Result<(), ChatError> {
        match self {
            Self::Backend => Ok(()),
            Self::User { user, .. } if user.root => Ok(()),
            Self::User { .. } => Err(Refusal::RootRequired.into()),
        }
    }

    /// The id of the person who calls; `None`: the shop's backend as itself.
    pub(crate) fn user_id(&self) -> Option<&str> {
        match self {
            Self::Backend => None,
            Self::User { user, .. } => Some(&user.id),
        }
    }

    /// A name for this caller in the table of idempotency keys; stable over a change of keys and tokens.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Backend => "backend".into(),
            Self::User { user, .. } => format!("user:{}", user.id),
        }
    }
}
