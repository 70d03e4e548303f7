'use strict'

// Prints recorded.json: Cookie fields, ordinary and odd ones, and what Node takes
// for the session cookie in each. internal/koatest runs it, with the versions that
// its package-lock.json names, and compares; UPDATE=1 writes the recording anew.
//
// A character of a field is one byte, as Node has it.

const http = require('http')
const net = require('net')
const Cookies = require('cookies')
const Keygrip = require('keygrip')
const { parseCookie } = require('cookie')
const { parse: parseOfExpress } = require('cookie-of-express')

const id = '0123abcd'
const other = '9876zyxw'

// The same numbers in each run (mulberry32).
let state = 20261128
function below (n) {
  state = (state + 0x6D2B79F5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return Math.floor(((t ^ (t >>> 14)) >>> 0) / 4294967296 * n)
}
const one = list => list[below(list.length)]

// Fields in which the session cookie is called name.
function fieldsOf (name, atRandom, everyByte) {
  const n = name
  const fields = [
    // What browsers and programs send.
    '', `${n}=${id}`, `${n}=${id}; a=b`, `a=b; ${n}=${id}`, `a=b;${n}=${id}`, `_ga=GA1.2.3.4; ${n}=${id}; ${n}.sig=abc; theme=dark`, `${n}=${id};`,
    `${n}=${other}; ${n}.next=${id}; ${n}.late=${id}`, `csrf=a%2Fb%3D; ${n}=${id}`, `a={"b":1,"c":[2]}; ${n}=${id}`, `a=b=c==; ${n}=${id}`, `${n}=${id}; a`,
    // Quotes.
    `${n}="${id}"`, `${n}="${id}`, `${n}=${id}"`, `${n}=""${id}""`, `${n}="`, `${n}=""`, `${n}='${id}'`, `${n}=" ${id} "`, `${n}="${id}" `, `${n}="${id}"x`,
    `a="; ${n}=${id}; b="`, `a="b; ${n}=${id}"`, `a=\\"; ${n}=${id}`, `${n}="\\60123abcd"`, `"${n}"=${id}`, `"${n}=${id}"`,
    // Blanks.
    ` ${n}=${id}`, `${n} =${id}`, `${n}= ${id}`, `${n}=${id} `, `${n}\t=${id}`, `${n}=\t${id}\t`, `\t${n}=${id}`, `a=b;\t${n}=${id}`, `a=b;  ${n}=${id}`, `a=b ;${n}=${id}`,
    `${n}=${id} x`, `${n} ${n}=${id}`, `${n}=0123 abcd`, `${n}=${id} ; a=b`,
    // No name, no value, no pair.
    `=${id}`, `=${n}=${id}`, `=; ${n}=${id}`, `${n}`, `${n}; ${n}=${id}`, `${n}=`, `${n}=; ${n}=${id}`, `${n}=${id}; ${n}=`, `; ; ;${n}=${id}`, `;${n}=${id}`, `=;=;==;${n}=${id}`, `a; ${n}=${id}`,
    `${n}==${id}`, `${n}=${id}=`, `${n}=a=${id}`,
    // Several of one name.
    `${n}=${id}; ${n}=${id}`, `${n}=${id}; ${n}=${other}`, `${n}=${other}; ${n}=${id}`, `${n}=a b; ${n}=${id}`, `${n}="${other}; ${n}=${id}`,
    Array(4).fill(`${n}=${id}`).join('; '), Array(5).fill(`${n}=${id}`).join('; '), `${n}=a1; ${n}=a2; ${n}=a3; ${n}=a4`, `${n}=a1; ${n}=a2; ${n}=a3; ${n}=a4; ${n}=a5`,
    // Other names, some of them like it.
    `x${n}=${id}`, `${n}x=${id}`, `${n}.sig=${id}`, `${n}.sig=${id}; ${n}=${other}`, `${n}[]=${id}`, `${n}[0]=${id}`, `a.${n}=${id}`, `${n.replace('.', 'x').replace(':', 'x')}x=${id}`,
    `${n.toUpperCase()}=${id}`, `${n.toLowerCase()}=${id}`, `__Host-${n}=${id}`, `__Secure-${n}=${id}; ${n}=${other}`, `__host-${n}=${id}`, `__Host-${n}=${id}; ${n}=${other}`,
    `%${n.charCodeAt(0).toString(16)}${n.slice(1)}=${id}`, `__proto__=${id}; ${n}=${id}`, `toString=1; ${n}=${id}`, `constructor=${id}`,
    // Of RFC 2109 and 2965.
    `$Version=1; ${n}=${id}; $Path=/`, `$Version="1"; ${n}="${id}"; $Path="/"; $Domain="example.com"`, `$Version=1, ${n}=${id}`, `$Version=0;${n}=${id}`, `$${n}=${id}`,
    // Commas.
    `${n}=${id}, a=b`, `a=b, ${n}=${id}`, `a=b,${n}=${id}`, `${n}=${id},${n}=${other}`, `${n}=${id},`, `,${n}=${id}`,
    // Percent signs.
    `${n}=%30123abcd`, `${n}=${id}%00`, `${n}=${id}%0d%0a`, `${n}=%22${id}%22`, `${n}=${id}%3B%20a=b`, `${n}=%`, `${n}=%zz${id}`, `${n}=%e4%f6`, `${n}=%C3%A4`, `${n}=+${id}`, `a=%3B${n}%3D; ${n}=${id}`,
    // Values of ids that other programs make.
    `${n}=s%3A${id}.aBcD%2F`, `${n}=s:${id}.aBcD/`, `${n}=user:42:${id}`, `${n}=YWJj/+A==`, `${n}=j:{"a":1}`, `${n}=null`, `${n}=undefined`, `${n}=../../etc/passwd`, `${n}={slot}${id}`, `${n}=koa:sess:${id}`,
    // Long ones: a part and how often it comes.
    [[`${n}=`, 1], ['a', 128]], [[`${n}=`, 1], ['a', 129]], [[`${n}=`, 1], ['a', 250]], [[`${n}=`, 1], ['a', 400]],
    [['a=b; ', 150], [`${n}=${id}`, 1]], [['a=b; ', 199], [`${n}=${id}`, 1]], [['a=b; ', 200], [`${n}=${id}`, 1]], [[`${n}=${id}`, 1], ['; a=b', 250]], [[';', 199], [`${n}=${id}`, 1]], [[';', 200], [`${n}=${id}`, 1]],
    [['a=', 1], ['b', 16300], [`; ${n}=${id}`, 1]], [['a=', 1], ['b', 17000], [`; ${n}=${id}`, 1]], [[`${n}=${id}; a=`, 1], ['b', 17000]], [['a', 3000], [`; ${n}=${id}`, 1]],
    [['a=b; ', 3100], [`${n}=${id}`, 1]]
  ]
  // Each byte that means something, at each place.
  const bytes = ['\0', '\x01', '\t', '\n', '\v', '\f', '\r', '\r\n', '\x1b', '\x1f', '\x7f', '\x80', '\x85', '\xa0', '\xe4', '\xff', '\xc3\xa4', '\xc2\xa0', '\xe2\x80\x80', '\xef\xbb\xbf', '\xe2\x80\xa8', '\xed\xa0\x80',
    ' ', '"', '\'', '(', ')', ',', '/', ':', '<', '=', '>', '?', '@', '[', '\\', ']', '{', '}', '%', '&', '+', '#', '$', '|', '~', '*', '!', '^', '`']
  for (const b of everyByte ? bytes : []) {
    fields.push(`${b}${n}=${id}`, `${n}${b}=${id}`, `${n}=${b}${id}`, `${n}=${id}${b}`, `${n}=0123${b}abcd`, `a=${b}; ${n}=${id}`, `${b}; ${n}=${id}`, `${n}=${id};${b}a=b`)
  }
  const pieces = [
    `${n}=${id}`, `${n}=${id}`, `${n}=${other}`, `${n}=x`, n, `${n}=`, `${n} = ${id}`, `x${n}=${id}`, `${n}.sig=${id}`, `${n.toUpperCase()}=${id}`, `${n}="${id}"`, `${n}="${id}`, `${n}=${id}"`,
    'a=b', 'a', '=', '==', 'a=b=c', `a="b; ${n}=${other}"`, '$Version=1', `${n}==${id}`, `${n}=${id},c=d`, `${n}=${id} x`, `${n}=\t${id}`, `${n}=${id}%41`, `${n}[]=${id}`, '"', '\\', '\xe4', 'a=\x00', `${n}=${id}\xa0`
  ]
  const separators = ['; ', '; ', '; ', ';', ' ;', ';;', ',', ' ', '; ; ', ';\t', '\t', '']
  for (let i = 0; i < atRandom; i++) {
    let field = ''
    for (let k = 1 + below(4); k > 0; k--) field += one(pieces) + one(separators)
    fields.push(field)
  }
  return fields
}

// JSON without bytes that editors hide.
const ascii = value => JSON.stringify(value).replace(/[^\x20-\x7e]/g, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'))

const textOf = field => typeof field === 'string' ? field : field.map(([part, times]) => part.repeat(times)).join('')

// A response that only keeps its Set-Cookie lines.
function response () {
  const fields = {}
  return {
    fields,
    getHeader: name => fields[name.toLowerCase()],
    setHeader (name, value) { fields[name.toLowerCase()] = value }
  }
}

const request = cookie => ({ headers: { cookie }, connection: {}, socket: {} })

// What a request with that field has under the name: for Cookies.get of Koa, cookie,
// and cookie as Express has it; one value if they agree.
function found (name, field) {
  const ofKoa = new Cookies(request(field), response()).get(name, { signed: false })
  const all = [ofKoa, parseCookie(field)[name], parseOfExpress(field)[name]].map(value => value === undefined ? null : value)
  return all.every(value => value === all[0]) ? all[0] : all
}

// Fields with a signature by the key number k of keys; the first is as Koa sends it.
function signedFields (sign, n) {
  const id = '0123456789abcdef'
  const good = sign(0, `${n}=${id}`)
  const second = sign(1, `${n}=${id}`)
  const last = sign(2, `${n}=${id}`)
  const foreign = sign(3, `${n}=${id}`)
  const changed = good.slice(0, -1) + (good.endsWith('0') ? '1' : '0')
  return [
    `${n}=${id}; ${n}.sig=${good}`, `${n}.sig=${good}; ${n}=${id}`, `a=b; ${n}=${id}; c=d; ${n}.sig=${good}; e=f`,
    `${n}=${id}; ${n}.sig=${second}`, `${n}=${id}; ${n}.sig=${last}`, `${n}=${id}; ${n}.sig=${foreign}`, `${n}=${id}`, `${n}.sig=${good}`, `${n}=${id}; ${n}.sig=`, `${n}=; ${n}.sig=${good}`,
    `${n}=; ${n}.sig=${sign(0, `${n}=`)}`, `${n}=${other}; ${n}.sig=${good}`, `x${n}=${id}; x${n}.sig=${good}`, `${n}=${id}; ${n}.sig=${sign(0, `x${n}=${id}`)}`, `${n}=${id}; ${n}.sig=${sign(0, id)}`,
    `${n}=${id}; ${n}.sig=${changed}`, `${n}=${id}; ${n}.sig=${good}=`, `${n}=${id}; ${n}.sig=${good}A`, `${n}=${id}; ${n}.sig=${good.slice(0, -1)}`,
    `${n}=${id}; ${n}.sig=${good.toUpperCase()}`, `${n}=${id}; ${n}.sig=${good.replace(/-/g, '+').replace(/_/g, '/')}`, `${n}=${id}; ${n}.sig=${encodeURIComponent(good + '=')}`,
    `${n}="${id}"; ${n}.sig="${good}"`, `${n}="${id}"; ${n}.sig=${sign(0, `${n}="${id}"`)}`, `${n}=${id}; ${n}.sig="${good}`, `${n}=${id}; ${n}.sig=${good} `, `${n}=${id} ; ${n}.sig=${good}`, `${n} =${id}; ${n}.sig =${good}`,
    `${n}=${id}; ${n}.sig=${good}; ${n}.sig=${foreign}`, `${n}=${id}; ${n}.sig=${foreign}; ${n}.sig=${good}`, `${n}=${other}; ${n}=${id}; ${n}.sig=${good}`, `${n}=${id}; ${n}=${other}; ${n}.sig=${good}`,
    `${n}=${other}; ${n}.sig=${sign(1, `${n}=${other}`)}; ${n}=${id}; ${n}.sig=${good}`, `${n}=${id}; ${n}.sig=${second}; ${n}.sig=${good}`,
    `${n}=${id}\xe4; ${n}.sig=${sign(0, `${n}=${id}\xe4`)}`, `${n}=a b c d e f g h i; ${n}.sig=${sign(0, `${n}=a b c d e f g h i`)}`, `${n}=user:42:${id}; ${n}.sig=${sign(0, `${n}=user:42:${id}`)}`,
    `${n.toUpperCase()}=${id}; ${n.toUpperCase()}.sig=${good}`, `${n}=${id}; ${n}.SIG=${good}`, `${n}=${id}; ${n}.sig.sig=${good}`, `${n}=${id}, ${n}.sig=${good}`
  ]
}

// What Cookies.get returns with signed: true, and what it does: "" for nothing, "again"
// where it sends the signature of the first key, "removed" where it removes the other.
function verified (name, field, keys) {
  const res = response()
  const value = new Cookies(request(field), res, { keys }).get(name, { signed: true })
  const [line] = res.fields['set-cookie'] || ['']
  if (line && !line.startsWith(`${name}.sig=`)) throw new Error(line)
  return [value === undefined ? null : value, line && (line.startsWith(`${name}.sig=;`) ? 'removed' : 'again')]
}

// Tells which fields a server of Node refuses.
async function refused (fields) {
  let got
  const server = http.createServer({ maxHeaderSize: 1 << 16 }, (req, res) => {
    got = true
    res.end()
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const all = []
  for (const field of fields) {
    got = false
    await new Promise((resolve, reject) => {
      const socket = net.connect(server.address().port, '127.0.0.1')
      socket.on('error', error => error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve() : reject(error))
      socket.on('close', resolve)
      socket.on('data', () => {})
      socket.end(Buffer.from(`GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: ${field}\r\n\r\n`, 'latin1'))
    })
    all.push(!got)
  }
  server.close()
  return all
}

async function main () {
  const version = name => require(`${name}/package.json`).version
  const versions = Object.fromEntries(['cookies', 'keygrip', 'cookie', 'cookie-of-express'].map(name => [name, version(name)]))
  const fields = []
  for (const [name, atRandom, everyByte] of [['koa.sid', 700, true], ['__Host-sid', 60, false], ['koss:test_sid', 60, false]]) {
    const all = [...new Map(fieldsOf(name, atRandom, everyByte).map(field => [textOf(field), field])).values()]
    const no = await refused(all.map(textOf))
    const rows = all.map((field, i) => ascii(no[i] ? [field, found(name, textOf(field)), 'refused'] : [field, found(name, textOf(field))]))
    fields.push(`{"name":"${name}","fields":[\n${rows.join(',\n')}\n]}`)
  }
  const sets = []
  const secrets = [['first key', 'second key', 'third key', 'foreign key'], ['\xfcber \u20ac', '\0\x01', 'k'.repeat(200), 'k']]
  for (const algorithm of ['sha1', 'sha256', 'sha384', 'sha512']) {
    for (const encoding of ['base64', 'hex']) {
      const all = secrets[sets.length % 2]
      const name = ['koa.sid', 'koss:test_sid', '__Host-sid'][sets.length % 3]
      const keys = all.slice(0, 3)
      const keygrip = algorithm === 'sha1' && encoding === 'base64' ? new Keygrip(keys) : new Keygrip(keys, algorithm, encoding)
      const sign = (k, text) => new Keygrip([all[k]], algorithm, encoding).sign(text)
      const rows = signedFields(sign, name).map(field => ascii([field, ...verified(name, field, keygrip)]))
      sets.push(`{"algorithm":"${algorithm}","encoding":"${encoding}","keys":${ascii(keys)},"name":"${name}","fields":[\n${rows.join(',\n')}\n]}`)
    }
  }
  process.stdout.write(`{"made":"by make.js with Node's packages","versions":${JSON.stringify(versions)},\n"fields":[\n${fields.join(',\n')}\n],\n"signed":[\n${sets.join(',\n')}\n]}\n`)
}

main()
