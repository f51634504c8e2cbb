/** What went wrong, and what clears it: errors of the relay say so themselves. */
export function Problem({ error }: { error: Error }) {
  const action = "action" in error ? String(error.action) : "";
  return (
    <p className="problem" role="alert">
      <strong>{error.message}</strong> {action}
    </p>
  );
}
