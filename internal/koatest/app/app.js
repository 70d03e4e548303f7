'use strict'

// The original: the routes of examples/demo on Koa, with koa-generic-session
// and koa-redis. Its argument is a JSON object with the address of the server
// (redis), the signing keys (keys) and the options of the middleware (session);
// of those are not the middleware's: keygrip, which are the algorithm and encoding
// of the signatures, and sid, with which each id begins.

const crypto = require('crypto')
const http = require('http')
const Keygrip = require('keygrip')
const Koa = require('koa')
const redisStore = require('koa-redis')
const session = require('koa-generic-session')

const config = JSON.parse(process.argv[2])
const app = new Koa()
const { keygrip, sid, ...options } = config.session
app.keys = keyring(config.keys, keygrip)
if (sid) options.genSid = n => sid + crypto.randomBytes(n).toString('base64')
app.use(session({ ...options, store: redisStore({ url: config.redis }) }))

// ctx.session is a promise in deferred mode. Awaiting it is right in both.
const routes = {
  '/get': async ctx => {
    const s = await ctx.session
    s.count = (s.count || 0) + 1
    return s.count
  },
  '/read': async ctx => (await ctx.session).count || 0,
  '/id': async ctx => {
    await ctx.session
    return ctx.sessionId
  },
  '/regenerate': async ctx => {
    const n = (await ctx.session).count || 0
    await ctx.regenerateSession()
    const s = await ctx.session
    s.count = n + 1
    return ctx.sessionId
  },
  // The original has no renew. This is how its users keep the values.
  '/renew': async ctx => {
    const s = await ctx.session
    await ctx.regenerateSession()
    ctx.session = s
    ctx.sessionSave = true
    return ctx.sessionId
  },
  '/remove': async ctx => {
    await ctx.session
    ctx.session = null
    return 'removed'
  },
  '/set': async ctx => {
    const s = await ctx.session
    s[ctx.query.k] = ctx.query.v
    return 'set'
  },
  '/dump': async ctx => {
    const { cookie, ...values } = await ctx.session
    return JSON.stringify(values)
  },

  // What the demo does not have.

  // Sets each member of the object in the body.
  '/json': async ctx => {
    Object.assign(await ctx.session, await body(ctx))
    return 'set'
  },
  // Sets the session's own cookie options.
  '/cookie': async ctx => {
    Object.assign((await ctx.session).cookie, await body(ctx))
    return 'set'
  },
  // Answers the Set-Cookie lines of some values under a name and keys.
  '/sign': async ctx => {
    const { keys, keygrip, name, values } = await body(ctx)
    return JSON.stringify(values.map(value => {
      const res = new http.ServerResponse(ctx.req)
      other(keyring(keys, keygrip), ctx.req, res).cookies.set(name, value, { signed: true })
      return res.getHeader('set-cookie')
    }))
  },
  // Answers the values of a name in some Cookie fields, null for none.
  '/cookies': async ctx => {
    const { name, fields } = await body(ctx)
    return JSON.stringify(fields.map(cookie => {
      const req = Object.create(ctx.req, { headers: { value: { cookie } } })
      return other(['unused'], req, new http.ServerResponse(req)).cookies.get(name, { signed: false }) || null
    }))
  },
  // Answers the values of some Cookie fields, null where the signature is bad.
  '/verify': async ctx => {
    const { keys, keygrip, name, cookies } = await body(ctx)
    return JSON.stringify(cookies.map(cookie => {
      const req = Object.create(ctx.req, { headers: { value: { cookie } } })
      return other(keyring(keys, keygrip), req, new http.ServerResponse(req)).cookies.get(name, { signed: true }) || null
    }))
  }
}

app.use(async ctx => {
  const route = routes[ctx.path]
  if (!route) return
  const answer = String(await route(ctx))
  ctx.type = 'text'
  ctx.body = answer
})

function keyring (keys, keygrip) {
  return keygrip ? new Keygrip(keys, ...keygrip) : keys
}

// A context of an app with other keys.
function other (keys, req, res) {
  const app = new Koa()
  app.keys = keys
  return app.createContext(req, res)
}

async function body (ctx) {
  const chunks = []
  for await (const chunk of ctx.req) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks).toString())
}

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})

// Whatever ends the test closes this end of the pipe.
process.stdin.resume()
process.stdin.on('end', () => process.exit())
