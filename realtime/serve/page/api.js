// Requests to the server.
import { learn, now_s } from "./clock.js";

async function check(answer) {
  if (answer.status === 401) {
    location.assign("/login");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || `the server answered ${answer.status}`);
  }
  return answer;
}

export async function getCameras() {
  const sent = now_s();
  const answer = await check(await fetch("/cameras", { cache: "no-store" }));
  const received = now_s();
  const value = await answer.json();
  learn(sent, received, value.server_time_s);
  return value;
}

export async function getCamera(name) {
  return (await check(await fetch(`/cameras/${encodeURIComponent(name)}`, { cache: "no-store" }))).json();
}

export async function getSnapshot(name) {
  return (await check(await fetch(`/cameras/${encodeURIComponent(name)}/snapshot.jpg`, { cache: "no-store" }))).blob();
}

export async function post(path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const headers = body ? { "Content-Type": "application/json" } : {};
  return (await check(await fetch(path, { method: "POST", body, headers }))).json();
}
