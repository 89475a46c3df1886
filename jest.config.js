export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/build'],
  testMatch: ['<rootDir>/build/test/**/*.test.js'],
  transform: {},
  coverageProvider: 'v8',
  collectCoverageFrom: ['build/src/**/*.js'],
}
