//! A value that must not be printed, logged or serialised by accident.

use zeroize::Zeroize;

/// Holds a secret. It has no `Debug`, `Display` or `Serialize` on purpose: whoever needs the value says
/// [`Secret::expose`], and that word can be searched for. The memory is cleared when it is dropped.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of the value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call of this is a place to review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
