//! Nothing here: the suite is the integration binary `it`, one folder, one process, sentence names.
