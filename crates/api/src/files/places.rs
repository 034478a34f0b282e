//! How many uploads are taken in at the same time: so many in all, and of these so many of one person, so that nobody
//! can hold all places with files that never end.

use std::sync::{Arc, Mutex, PoisonError};

/// Uploads at the same time; more are told to come back.
const ALL: usize = 32;
/// The same of one person.
const OF_ONE: usize = 8;

/// Those who upload now.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<Vec<String>>>);

/// A place among them, while it is held.
#[derive(Debug)]
pub struct Place {
    all: Places,
    uploader: String,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The uploader has enough of them.
    Own,
    /// All are taken.
    All,
}

impl Places {
    /// A place for the next upload of somebody.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&self, uploader: String) -> Result<Place, Full> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.iter().filter(|it| **it == uploader).count() >= OF_ONE {
            return Err(Full::Own);
        }
        if held.len() >= ALL {
            return Err(Full::All);
        }
        held.push(uploader.clone());
        Ok(Place { all: self.clone(), uploader })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.iter().position(|it| *it == self.uploader) {
            held.swap_remove(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_all_places_and_each_is_given_back() {
        let places = Places::default();
        let mut held: Vec<Place> =
            (0..OF_ONE).map(|_| places.take("anna".into()).unwrap()).collect();
        assert_eq!(places.take("anna".into()).unwrap_err(), Full::Own);
        held.extend((0..ALL - OF_ONE).map(|n| places.take(n.to_string()).unwrap()));
        assert_eq!(places.take("ben".into()).unwrap_err(), Full::All);
        drop(held.swap_remove(0));
        let ben = places.take("ben".into()).unwrap();
        assert_eq!(places.take("anna".into()).unwrap_err(), Full::All);
        drop((held, ben));
        assert!(places.0.lock().unwrap().is_empty());
    }
}
