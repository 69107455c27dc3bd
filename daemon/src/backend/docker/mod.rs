//! Docker through its API. bollard lives here and nowhere else.
