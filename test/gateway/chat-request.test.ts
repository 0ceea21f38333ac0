import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SlipwayError } from '../../domain/errors.ts';
import { parseChatRequest } from '../../gateway/chat-request.ts';
import { UpstreamFailure } from '../../gateway/upstream.ts';

const parse = (more: object) =>
  parseChatRequest({ model: 'support', messages: [{ role: 'user', content: 'Hello' }], ...more }, undefined);

const refusalOf = (more: object): SlipwayError => {
  try {
    parse(more);
  } catch (error) {
    assert.ok(error instanceof SlipwayError && error.code === 'REQUEST_INVALID');
    return error;
  }
  assert.fail(`taken: ${JSON.stringify(more)}`);
};

const withPart = (part: unknown) => ({
  messages: [{ role: 'user', content: [{ type: 'text', text: 'What is this?' }, part] }],
});

describe('a part of a content', () => {
  it('that brings its content along is taken, and words are only words', () => {
    for (const part of [
      { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0K', detail: 'low' } },
      { type: 'input_audio', input_audio: { data: '//uQxAAA', format: 'mp3' } },
      { type: 'text', text: 'https://example.com says so' },
      { type: 'refusal', refusal: 'http: no' },
    ]) {
      assert.deepEqual(parse(withPart(part)).messages, withPart(part).messages);
    }
  });

  it('that would have the engine fetch something is refused with field, value and remedy', () => {
    const inside = 'http://169.254.169.254/latest/meta-data';
    for (const [part, field, value] of [
      [{ type: 'image_url', image_url: { url: inside } }, 'image_url.url', 'http:…'],
      [{ type: 'input_image', image_url: inside }, 'image_url', 'http:…'],
      [{ type: 'image_url', image_url: { url: ' FILE:///etc/passwd' } }, 'image_url.url', 'FILE:…'],
      [{ type: 'image_url', image_url: { url: '//169.254.169.254/' } }, 'image_url.url', 'no data: URL'],
      [{ type: 'text', text: 'so', video_url: { url: inside } }, 'video_url.url', 'http:…'],
      [{ type: 'video', video: [{ from: inside }] }, 'video.0.from', 'http:…'],
    ] as const) {
      const { details } = refusalOf(withPart(part));
      assert.equal(details.field, `messages[0].content[1].${field}`);
      assert.equal(details.value, value);
      assert.match(details.remedy ?? '', /data:/);
    }
  });
});

describe('a refusal', () => {
  it('names field and value and says what to do, without a word that a user wrote', () => {
    for (const [more, field, value] of [
      [{ model: undefined }, 'model', 'nothing'],
      [{ model: '' }, 'model', 'an empty text'],
      [{ messages: 'secret' }, 'messages', 'a text'],
      [{ messages: [] }, 'messages', 'an empty list'],
      [{ messages: ['secret'] }, 'messages[0]', 'a text'],
      [{ messages: [{ content: 'secret' }] }, 'messages[0].role', 'nothing'],
      [{ messages: [{ role: 'user', content: { secret: 1 } }] }, 'messages[0].content', 'an object'],
      [withPart('secret'), 'messages[0].content[1]', 'a text'],
      [withPart({ text: 'secret' }), 'messages[0].content[1].type', 'nothing'],
      [withPart({ type: 'text' }), 'messages[0].content[1].text', 'nothing'],
      [{ stream: 'yes' }, 'stream', 'a text'],
      [{ n: 2 }, 'n', '2'],
      [{ variables: ['secret'] }, 'variables', 'a list'],
      [{ variables: { tier: true } }, 'variables.tier', 'true'],
      [{ user: 7 }, 'user', '7'],
    ] as const) {
      const { message, details } = refusalOf(more);
      assert.deepEqual([details.field, details.value], [field, value]);
      assert.ok(message.endsWith(`, not ${value}`), message);
      assert.doesNotMatch(message, /secret/);
      assert.match(details.remedy ?? '', /^[A-Z]/);
    }
  });

  it('by an endpoint that fails says what to do', () => {
    for (const reason of ['no_endpoint', 'upstream_timeout', 'upstream_error'] as const) {
      assert.match(JSON.stringify(new UpstreamFailure(reason, 'so').answer().body), /Try again in a moment/);
    }
  });
});
