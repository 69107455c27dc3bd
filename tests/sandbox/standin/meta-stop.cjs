// Loaded before postgres-meta: as PID 1 a process without a handler ignores SIGTERM, and until the package has set up
// its own, a stop would cost the whole grace period. After a second the process ends in any case.
for (const name of ["SIGTERM", "SIGINT"]) {
  process.on(name, () => setTimeout(() => process.exit(0), 1000));
}
