import type { Chat } from "@relay-sdk/react";
import { type KeyboardEvent, type SyntheticEvent, useState } from "react";

/** Enter sends, Shift+Enter is a new line. */
export function Composer({ chat }: { chat: Chat }) {
  const [text, setText] = useState("");
  const isStreaming = chat.status === "streaming";

  function submit(event: SyntheticEvent) {
    event.preventDefault();
    if (isStreaming || !text.trim()) return;
    setText("");
    void chat.send(text.trim());
  }

  function pressed(event: KeyboardEvent) {
    const isComposing = event.nativeEvent.isComposing; // Enter then ends a word of an input method
    if (event.key === "Enter" && !event.shiftKey && !isComposing) submit(event);
  }

  return (
    <form className="composer" onSubmit={submit}>
      <textarea
        aria-label="Message" placeholder="Message" rows={2} maxLength={8000} autoFocus
        value={text} onChange={(event) => setText(event.target.value)} onKeyDown={pressed}
      />
      {isStreaming ? <button type="button" onClick={chat.stop}>Stop</button> : <button type="submit">Send</button>}
    </form>
  );
}
